"""Images and labels from every supported distribution, decoded once, split by lesion."""
