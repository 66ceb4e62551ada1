# Offers the words in $2 that begin with $1.
_llava_quantize_words() {
    mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
}

# A rule PATTERN=TYPE: a role before the equals sign, a type behind it.
_llava_quantize_rule() {
    if [[ $1 == *=* ]]; then
        _llava_quantize_words "${1#*=}" "$_llava_quantize_types"
        COMPREPLY=("${COMPREPLY[@]/#/${1%%=*}=}")
    else
        mapfile -t COMPREPLY < <(compgen -W "$_llava_quantize_roles" -S = -- "$1")
        compopt -o nospace 2>/dev/null
    fi
}

# Offers what fits kind $2 and begins with $1.
_llava_quantize_offer() {
    local cur=$1 kind=$2
    case $kind in
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    spec) _llava_quantize_words "$cur" "$_llava_quantize_specs" ;;
    rule) _llava_quantize_rule "$cur" ;;
    command) _llava_quantize_words "$cur" "$_llava_quantize_commands" ;;
    words\ *) _llava_quantize_words "$cur" "${kind#words }" ;;
    esac
}

# The words before the cursor, with "--option", "=", "value" put together again as the program will see them.
_llava_quantize_join() {
    local i word glue=
    joined=()
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]-}
        if [[ $word == = && ${#joined[@]} -gt 0 ]] || [[ -n $glue ]]; then
            joined[${#joined[@]} - 1]+=$word
            if [[ $word == = ]]; then glue=1; else glue=; fi
        else
            joined+=("$word")
        fi
    done
}

# Sets what the words before the cursor say: `command`; `place`, the number of the argument in hand; `pending`, the
# option that wants the next word as its value; `only_arguments` behind "--".
_llava_quantize_walk() {
    local i=0 word
    command=quantize place=1 pending='' only_arguments=''
    if [[ ${#joined[@]} -gt 1 && " $_llava_quantize_commands " == *" ${joined[0]} "* ]]; then
        command=${joined[0]}
        i=1
    fi
    for (( ; i < ${#joined[@]} - 1; i++)); do
        word=${joined[i]}
        if [[ -n $pending ]]; then
            pending=
        elif [[ -n $only_arguments || $word != -?* ]]; then
            place=$((place + 1))
        elif [[ $word == -- ]]; then
            only_arguments=1
        elif [[ -n $(_llava_quantize_kind "$command" "$word") ]]; then
            pending=$word
        fi
    done
}

_llava_quantize() {
    local joined command place pending only_arguments
    COMPREPLY=()
    _llava_quantize_join
    _llava_quantize_walk
    local cur=${joined[${#joined[@]} - 1]}
    if [[ -n $pending ]]; then
        _llava_quantize_offer "$cur" "$(_llava_quantize_kind "$command" "$pending")"
    elif [[ -z $only_arguments && $cur == --*=* ]]; then
        _llava_quantize_offer "${cur#*=}" "$(_llava_quantize_kind "$command" "${cur%%=*}")"
        COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}")
    elif [[ -z $only_arguments && $cur == -* ]]; then
        _llava_quantize_words "$cur" "$(_llava_quantize_options "$command")"
    else
        _llava_quantize_offer "$cur" "$(_llava_quantize_kind "$command" "$place")"
        if [[ ${#joined[@]} == 1 ]]; then
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$_llava_quantize_commands" -- "$cur")
        fi
    fi
    # readline replaces only what stands behind the last "=", where that is a word break
    if [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]]; then COMPREPLY=("${COMPREPLY[@]#"${cur%=*}="}"); fi
}

complete -F _llava_quantize llava-quantize
