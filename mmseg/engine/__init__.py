"""Training, evaluation and files of a run, for any model of the registries."""
