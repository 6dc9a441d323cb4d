"""Hosts reached over SSH: the agent is sent over the connection and answers there as it does here."""
