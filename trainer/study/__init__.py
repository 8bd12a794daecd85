"""The study of Huq and Pervin (2020) again: which models, which sets, in which order, and who does the work."""
