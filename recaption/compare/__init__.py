"""`recaption compare`: which of two outputs describes the same images better, judged by a model."""
