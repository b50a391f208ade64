"""The credit-assignment view: what every token of some sequences earned, and what the critic makes of it."""
