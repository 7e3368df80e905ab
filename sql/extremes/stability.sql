-- Every other seed.
SELECT * FROM stability
