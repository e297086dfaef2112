#compdef isopod
_isopod() {
    local found line
    local -a offers
    if found=$("${words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null); then
        for line in "${(@f)found}"; do
            [[ -n $line ]] && offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        done
        _describe 'isopod' offers
    else
        _files
    fi
}
if [[ $funcstack[1] == _isopod ]]; then
    _isopod "$@"
else
    compdef _isopod isopod
fi
