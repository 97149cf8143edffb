"""The shipped tables of `annotate.tables`, one module each. They are made from text alone, when captions are tagged."""
