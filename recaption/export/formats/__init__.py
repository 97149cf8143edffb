"""The formats of `recaption export --to NAME`: a module for each trainer, which `recaption.export.load` imports."""
