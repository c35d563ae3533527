"""What runs beside the students' code, in its box: it runs cells and calls answers, and knows nothing that is right."""
