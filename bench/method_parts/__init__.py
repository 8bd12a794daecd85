"""Parts of `bench/methods.py`: candidates, what their epochs cost, one training, and the page."""
