"""The one exception whose message is for users."""


class TatrError(Exception):
    """Something the user can fix.

    The message names the file or the key, says what was found, what was expected and what to do next. Commands
    print it as one line, without a traceback; anything else that escapes is a bug and keeps its traceback.
    """
