"""`vcm teach`: from labelled cases to a control's pack in one command."""
