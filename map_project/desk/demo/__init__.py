"""A believable month for `seed_demo --history`: who the customers are, and what they ran."""
