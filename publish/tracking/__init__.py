"""Send runs and audits to experiment trackers: what to log, and one file per tracker."""
