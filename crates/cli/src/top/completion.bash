# bash completion of isopod
_isopod() {
    local words=() word joined= i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        # Bash splits at = and : too.
        if [[ $word && ${#words[@]} -gt 0 && ($joined || $word == [=:]*) ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == *[=:] ]] && joined=1 || joined=
    done
    local current=${words[${#words[@]} - 1]} own=${COMP_WORDS[COMP_CWORD]} found line
    [[ $own == [=:]* ]] && own=
    COMPREPLY=()
    if found=$("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null); then
        while IFS=$'\t' read -r line _; do
            [[ $line ]] && COMPREPLY+=("${line#"${current%"$own"}"}")
        done <<<"$found"
    else
        compopt -o bashdefault -o default
    fi
}
complete -F _isopod isopod
