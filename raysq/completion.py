"""Completion of options, and of what a choice may be, in bash; in zsh after ``bashcompinit``."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal, get_args, get_origin

from raysq.config import Config, as_typed
from raysq.options import COMMANDS, options_of, spelling

FUNCTION = r"""
_raysq() {
    local part name="" words word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    for part in "${COMP_WORDS[@]}"; do
        case $part in
            workflows/*.py | */workflows/*.py) name=${part##*/} name=${name%.py} ;;
            raysq.workflows.*) name=${part##*.} ;;
        esac
    done
    [ -n "$name" ] && [ -n "${_raysq_options[$name]-}" ] || return 0
    if [ "$word" = "=" ]; then word=""; elif [ "$before" = "=" ]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi
    words=${_raysq_values[$name$before]-}
    if [ -z "$words" ]; then
        [[ $word == --* ]] || return 0
        words=${_raysq_options[$name]}
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o bashdefault -o default -F _raysq python python3
"""
"""One for all workflows; where it knows nothing, files are completed as ever."""


def completion(config_class: type[Config], script: str) -> str:
    """What a shell has to read: ``. <(python workflows/erac.py --print-completion)``.

    Args:
        config_class: settings of the command.
        script: path of its file, by whose name the options are kept.
    """
    name = PurePath(script).stem
    options = list(options_of(config_class))
    known = [spelling(key) for key in (*(option.key for option in options), *COMMANDS)]
    lines = [
        "declare -gA _raysq_options _raysq_values",
        f'_raysq_options[{name}]="{" ".join(known)}"',
    ]
    for option in options:
        choices: tuple[object, ...] = ()
        if option.type is bool:
            choices = (True, False)
        elif get_origin(option.type) is Literal:
            choices = get_args(option.type)
        if choices:
            words = " ".join(map(as_typed, (*choices, None) if option.takes_none else choices))
            lines.append(f'_raysq_values[{name}{spelling(option.key)}]="{words}"')
    return "\n".join(lines) + FUNCTION.rstrip("\n")
