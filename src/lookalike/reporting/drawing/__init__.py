"""Drawings of explanation records and of what analyses leave: `explanations` reads them and calls the method's."""
