"""Small trained networks of several frameworks, with the data that they were trained on."""
