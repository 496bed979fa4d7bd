# An answer file by the rules of its format (urn:schemas-microsoft-com:unattend), as lines "pass|component|path|item|text": for each setting
# in the order of the file. `item` counts list items, such as a RunSynchronousCommand, within its component. A component for another
# architecture is left out, as Setup does. Ends with 1 when the text is no well-formed answer file.
function text_of(s) {
	gsub(/&lt;/, "<", s); gsub(/&gt;/, ">", s); gsub(/&quot;/, "\"", s); gsub(/&#34;/, "\"", s); gsub(/&apos;/, "'", s); gsub(/&amp;/, "\\&", s)
	return s
}
function attribute(tag, name,    at) {
	if (!match(tag, name "=\"[^\"]*\"")) return ""
	at = substr(tag, RSTART + length(name) + 2, RLENGTH - length(name) - 3)
	return text_of(at)
}
function path(    i, p) {
	for (i = 4; i <= depth; i++) p = p (i > 4 ? "/" : "") stack[i]
	return p
}
BEGIN { RS = "<"; FS = "\001"; bad = 0 }
NR == 1 { next }
/^[?!]/ { next }
{
	end = index($0, ">")
	if (!end) { bad = 1; exit }
	tag = substr($0, 1, end - 1)
	text = substr($0, end + 1)
	name = tag; sub(/[ \t\r\n\/].*$/, "", name)
	if (tag ~ /^\//) {
		if (substr(tag, 2) != stack[depth]) { bad = 1; exit }
		if (leaf && depth > 3 && arch == "amd64") print pass "|" component "|" path() "|" item "|" text_of(value)
		depth--; leaf = 0
		next
	}
	stack[++depth] = name
	value = text; leaf = 1
	if (depth == 1 && (name != "unattend" || attribute(tag, "xmlns") != "urn:schemas-microsoft-com:unattend")) { bad = 1; exit }
	if (depth == 2) pass = attribute(tag, "pass")
	if (depth == 3) { component = attribute(tag, "name"); arch = attribute(tag, "processorArchitecture"); item = 0 }
	if (attribute(tag, "wcm:action") == "add") item++
	if (tag ~ /\/$/) { depth--; leaf = 0 }
}
END { if (bad || depth != 0) exit 1 }
