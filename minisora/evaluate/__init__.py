"""Floor 7: checkers. They read pixels only, and a number never stands without its floor and its controls."""
