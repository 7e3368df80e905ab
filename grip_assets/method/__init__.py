"""The mathematics of GRIP: arrays in, arrays out. No Dagster, no models, no network. Equations in SQL are in sql/."""
