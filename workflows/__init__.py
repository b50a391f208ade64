"""Commands, one file each: a recipe for every algorithm, and what is done before and after training."""
