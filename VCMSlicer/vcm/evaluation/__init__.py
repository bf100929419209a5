"""How good images are, measured on whole sets of cases: tables, plots and sheets."""
