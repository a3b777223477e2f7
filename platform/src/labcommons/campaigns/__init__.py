"""Where planners behind one ask/tell port, and the closed loop, will stand. Nothing is here yet."""
