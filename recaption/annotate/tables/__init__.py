"""Tables that `annotate.tables` names, one module each, made from text alone in the pass that tags the captions."""
