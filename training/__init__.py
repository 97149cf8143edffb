"""Scripts that trained the shipped models. Not part of the installed package."""
