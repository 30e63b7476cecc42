"""What is raised where the environment is wrong."""


class ConfigError(Exception):
    """A variable is missing or wrong. One line that names it and says what to do."""
