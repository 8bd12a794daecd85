"""Open engine files and run them. Each runtime has one file here. Importing this package does not import torch."""
