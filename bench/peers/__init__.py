"""What the gateway is measured against: services as good teams write them, and the floor under all."""
