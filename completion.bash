# Completion of groups, options and keys in bash:  source completion.bash
# Then: python -m src.train mo<TAB>  ->  model=  ->  model=lenet
_src_completion() {
    COMPREPLY=()
    [[ ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} == src.* ]] || return
    local IFS=$'\n'
    COMPREPLY=($(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT "${COMP_WORDS[0]}" -m "${COMP_WORDS[2]}" -sc query=bash 2>/dev/null))
}
complete -o default -o nospace -F _src_completion python python3 .venv/bin/python
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
