"""Step labels without people, one file a method. Each names its source; none is ever mixed with what people said."""
