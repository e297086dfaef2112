# fish completion of isopod
function __isopod_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l current (commandline -ct)
    if set -l found ($program __complete $words "$current" 2>/dev/null)
        set -q found[1]; and printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c isopod -f -a '(__isopod_complete)'
