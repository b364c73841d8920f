"""Floor 8: pictures. Players, contact sheets and one plot style."""
