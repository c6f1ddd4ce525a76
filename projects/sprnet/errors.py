"""The error of a user's input, as opposed to one of this project's."""


class InputError(ValueError):
    """Wrong input: a config, a file of data, a checkpoint, an argument.

    Its message is one sentence that names the option or file, its value and
    the remedy. The commands end with that sentence. Every other error keeps
    its traceback.
    """
