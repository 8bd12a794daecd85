"""Parts of `bench/strength.py`: each library's attacks, which of them face which of ours, what stands, and the page."""
