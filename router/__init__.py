"""The HTTP edge: who asks, whether it may go on, the door, and the answer."""
