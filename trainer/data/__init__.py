"""Images and labels from every supported distribution, decoded once and split by lesion."""
