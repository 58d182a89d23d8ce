#!/bin/sh
# Restores a medium from an archive without ntt: sh restore-without-ntt.sh ARCHIVE MEDIUM-ID DEST
#
# Needs tar, find, b3sum, zstd, jq, awk, and what every Unix has (sh, mkdir, cp, ln, chmod, touch, sort, base64). Each volume becomes a
# directory DEST/volume-N. Every content is checked with b3sum before it is used. Exit status: 0 all restored, 1 something could not be.
set -eu
umask 077
LC_ALL=C
export LC_ALL

if [ $# -ne 3 ]; then
    echo "usage: $0 ARCHIVE MEDIUM-ID DEST" >&2
    exit 2
fi
archive=$(cd "$1" && pwd)
manifest=$archive/media/$2/manifest.jsonl.zst
mkdir -p "$3"
dest=$(cd "$3" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lost=0

zstd -dcq "$manifest" > "$work/manifest"
[ "$(tail -n 1 "$work/manifest" | jq -r .line)" = end ] || { echo "$manifest is cut short" >&2; exit 1; }

# The packs that hold wanted contents: digest and tar, one a line.
find "$archive/packs" -name '*.tar' -print | while IFS= read -r pack; do
    tar -tf "$pack" | awk -v pack="$pack" 'length($0) == 64 { print $0 " " pack }'
done > "$work/packed"

# Names people see, of the newest scan of each reader on each volume; one line of words each, names in base64 so that any byte may be in them.
jq -n 'reduce (inputs | select(.line == "scan")) as $scan ({}; .["\($scan.volume) \($scan.reader)"] = $scan.id) | .[]' \
    "$work/manifest" > "$work/scans"
jq -r --slurpfile scans "$work/scans" '
  def b64: if . == null then "-" elif type == "object" then .base64 else @base64 end;
  select(.line == "path" and (.alternate | not) and .allocation == "allocated" and .rule == null)
  | select(.scan as $scan | any($scans[]; . == $scan))
  | [.volume, (.kind // "unknown"), .inode, (.blob // "-"),
     (if .mode == null then "-" else .mode end), (.modified // "-"), (.target | b64), (.path | b64), (.missing | length)]
  | map(tostring) | join(" ")' "$work/manifest" > "$work/paths"

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

lose() {
    printf 'not restored: %s: %s\n' "$1" "$2" >&2
    lost=1
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
