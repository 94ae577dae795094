"""Side-by-side measurements, never part of the tests; `README.md` here says how to run them."""
