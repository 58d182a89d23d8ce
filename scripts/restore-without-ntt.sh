#!/bin/sh
# Restores a medium from an archive without ntt: sh restore-without-ntt.sh ARCHIVE MEDIUM-ID DEST
#
# Needs tar, find, b3sum, zstd, jq, awk, and what every Unix has (sh, mkdir, cp, ln, chmod, touch, sort, base64). Each volume becomes a
# directory DEST/volume-N, also one that is a copy of another medium's. Every content is checked with b3sum before it is used. Exit status:
# 0 all restored, 1 something could not be.
set -eu
umask 077
LC_ALL=C
export LC_ALL

if [ $# -ne 3 ]; then
    echo "usage: $0 ARCHIVE MEDIUM-ID DEST" >&2
    exit 2
fi
archive=$(cd "$1" && pwd)
mkdir -p "$3"
dest=$(cd "$3" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lost=0

lose() {
    printf 'not restored: %s: %s\n' "$1" "$2" >&2
    lost=1
}

# The manifest of medium $1, whole, as a file whose name is left in $manifest.
unpack() {
    packed=$archive/media/$1/manifest.jsonl.zst
    manifest=$work/manifest-$1
    [ -f "$manifest" ] && return
    [ -f "$packed" ] || { echo "$packed is not there" >&2; return 1; }
    zstd -dcq "$packed" > "$manifest" && [ "$(tail -n 1 "$manifest" | jq -r .line)" = end ] && return
    rm -f "$manifest"
    echo "$packed is damaged or cut short" >&2
    return 1
}

# Adds to the paths the names people see in $manifest, of the newest scan of each reader on each volume; one line of words each, names in base64 so that any
# byte may be in them. $1 is an object: the number of a volume there, and the number under which it is to be restored.
list() {
    jq -n 'reduce (inputs | select(.line == "scan")) as $scan ({}; .["\($scan.volume) \($scan.reader)"] = $scan.id) | .[]' \
        "$manifest" > "$work/scans"
    jq -r --slurpfile scans "$work/scans" --argjson numbers "$1" '
      def b64: if . == null then "-" elif type == "object" then .base64 else @base64 end;
      select(.line == "path" and (.alternate | not) and .allocation == "allocated" and .rule == null)
      | select(.scan as $scan | any($scans[]; . == $scan))
      | $numbers[.volume | tostring] as $number | select($number)
      | [$number, (.kind // "unknown"), .inode, (.blob // "-"),
         (if .mode == null then "-" else .mode end), (.modified // "-"), (.target | b64), (.path | b64), (.missing | length)]
      | map(tostring) | join(" ")' "$manifest" >> "$work/paths"
}

unpack "$2" || exit 1
jq -c -n 'reduce (inputs | select(.line == "volume" and .same_as == null)) as $volume ({}; .[$volume.number | tostring] = $volume.number)' \
    "$manifest" > "$work/own"
# Of a volume that is a copy of another medium's, the paths stand in that medium's manifest.
jq -r 'select(.line == "volume" and .same_as != null) | "\(.number) \(.copy_of // "-")"' "$manifest" > "$work/copies"
list "$(cat "$work/own")"
while read -r number original; do
    if [ "$original" = - ]; then
        lose "$dest/volume-$number" "it is a copy of a volume of another medium, and this manifest, of an older ntt, does not say which"
    elif unpack "${original%/*}"; then
        list "{\"${original#*/}\": $number}"
    else
        lose "$dest/volume-$number" "it is a copy of volume ${original#*/} of medium ${original%/*}, whose manifest cannot be read"
    fi
done < "$work/copies"

# The packs that hold wanted contents: digest and tar, one a line.
find "$archive/packs" -name '*.tar' -print | while IFS= read -r pack; do
    tar -tf "$pack" | awk -v pack="$pack" 'length($0) == 64 { print $0 " " pack }'
done > "$work/packed"

# Bytes to a shell variable: the x keeps newlines at the end.
decode() {
    decoded=$(printf '%s' "$1" | base64 -d; printf x)
    decoded=${decoded%x}
}

octal() {
    awk -v mode="$1" 'BEGIN { printf "%o\n", mode }'
}

# The content $1 as a checked file whose name is left in $content.
fetch() {
    content=$archive/blobs/$(printf %.2s "$1")/$(printf %s "$1" | awk '{ print substr($0, 3, 2) }')/$1
    if [ ! -f "$content" ]; then
        pack=$(awk -v hash="$1" '$1 == hash { print substr($0, 66); exit }' "$work/packed")
        [ -n "$pack" ] || return 1
        content=$work/content
        tar -xOf "$pack" "$1" > "$content" || return 1
    fi
    [ "$(b3sum --no-names < "$content")" = "$1" ]
}

# Directories first, then all else, so that times of directories can be set last.
while read -r volume kind inode blob mode modified target path missing; do
    decode "$path"
    to=$dest/volume-$volume/$decoded
    case $kind in
    directory)
        mkdir -p "$to"
        continue ;;
    esac
    mkdir -p "${to%/*}"
    first=$work/inode-$volume-$inode
    if [ -e "$first" ]; then
        # A second name of the same inode: a hard link.
        decode "$(cat "$first")"
        ln "$decoded" "$to" && continue
    fi
    case $kind in
    file)
        if [ "$blob" = - ] || ! fetch "$blob"; then
            lose "$to" "its content is not in the archive"
            continue
        fi
        cp "$content" "$to"
        [ "$missing" = 0 ] || lose "$to" "$missing ranges were never read and hold zeros (restored in part)" ;;
    symlink)
        decode "$target"
        ln -s "$decoded" "$to"
        [ "$modified" = - ] || touch -h -d "$modified" "$to"
        continue ;;
    *)
        lose "$to" "$kind"
        continue ;;
    esac
    [ "$modified" = - ] || touch -d "$modified" "$to"
    [ "$mode" = - ] || chmod "$(octal "$mode")" "$to"
    printf '%s' "$to" | base64 > "$first"
done < "$work/paths"

# Deepest first: what is set on a directory must not be undone by work in it.
awk '$2 == "directory"' "$work/paths" | awk '{ lines[NR] = $0 } END { for (i = NR; i > 0; i--) print lines[i] }' |
while read -r volume kind inode blob mode modified target path missing; do
    decode "$path"
    to=$dest/volume-$volume/$decoded
    [ "$modified" = - ] || touch -d "$modified" "$to"
    [ "$mode" = - ] || chmod "$(octal "$mode")" "$to"
done
exit $lost
