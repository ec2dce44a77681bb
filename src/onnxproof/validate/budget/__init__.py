"""Files of lower precision, judged by the decisions that they cost."""
