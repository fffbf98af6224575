"""Python that produced the demo pairs: not needed to build or to run Realign."""
