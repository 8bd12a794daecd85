"""The study of Huq and Pervin (2020) repeated: which models, which sets, in which order, and which process does what."""
