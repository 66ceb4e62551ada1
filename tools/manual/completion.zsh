# PATTERN=TYPE: a role before the equals sign, a type behind it.
_llava_quantize_rule() {
    if compset -P '*='; then
        compadd -a _llava_quantize_types
    else
        compadd -S = -a _llava_quantize_roles
    fi
}

# The first word is a command, or the input of the command that needs no name.
_llava_quantize() {
    if (( CURRENT == 2 )) && [[ ${words[2]} != -* ]]; then
        _describe -t commands command _llava_quantize_described
        _files
    elif (( $_llava_quantize_commands[(Ie)${words[2]}] )); then
        local command=${words[2]}
        shift words
        (( CURRENT-- ))
        _llava_quantize_$command
    else
        _llava_quantize_quantize
    fi
}

_llava_quantize "$@"
