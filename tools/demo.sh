#!/usr/bin/env bash
# The demo: quantises demo/model at the default recipe, asks the result and the F16 original the same questions, and
# evaluates the one against the other: build/demo/report.html shows what the smaller pair lost. Then calibrates, and
# shows what a pair of about 3 bits per weight gains by it, and what types chosen by measuring gain at layered's size.
#
#     tools/demo.sh build
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly program=$1/llava-quantize out=$1/demo
readonly f16=$out/f16 small=$out/layered plan=$out/plan.json report=$out/report.html
readonly plain=$out/3bit calibrated=$out/3bit-calibrated statistics=$out/statistics.gguf
readonly layered=$out/layered-calibrated automatic=$out/automatic

# picture | question | right answer: from demo/exam.jsonl, which the model has never been trained on
readonly questions='
00009|What is at the bottom right?|large orange diamond
00009|What color is the cross?|yellow
00010|What number is written?|32
00010|What color is the star?|green
00014|How many objects are there?|four
00014|What color is the circle?|red
'

show() { printf '\n$ %s\n' "$*"; "$@"; }
size() { cat "$1"/*.gguf | wc -c | awk '{ printf "%.2f MiB", $1 / 1048576 }'; }
answer() { "$program" ask --quiet "$1" "demo/exam/$2.png" "$3"; }
# Mean divergence from F16 of the answers to the first questions of the exam.
divergence() {
    "$program" eval "$1" --against "$f16" --data demo/exam.jsonl --limit 80 --quiet |
        awk '/KL divergence, mean/ { print $5 }'
}
row() { printf '%-12s %-30s %-22s %-22s %s\n' "$@"; }

mkdir -p "$out"
echo "A small LLaVA that was trained for this demo (7.8 million weights, pictures of coloured shapes) becomes a GGUF"
echo "pair twice: once in full precision, once quantised."
show "$program" convert --force --quiet demo/model "$f16"
show "$program" --force demo/model "$small" --save-plan "$plan"

printf '\nSizes: F16 %s, layered %s.\n' "$(size "$f16")" "$(size "$small")"
printf '\nThe same questions to both pairs:\n\n'
row picture question right F16 layered
while IFS='|' read -r picture question right; do
    [ -z "$picture" ] || row "$picture.png" "$question" "$right" "$(answer "$f16" "$picture" "$question")" \
        "$(answer "$small" "$picture" "$question")"
done <<<"$questions"

printf '\nAll 600 questions of the exam, to both pairs side by side:\n'
show "$program" eval "$small" --against "$f16" --data demo/exam.jsonl --text demo/text.txt --plan "$plan" --by-half \
    --report "$report" |
    sed -un 1,3p # the command and the verdict: the page has it all

printf '\nCalibrated: statistics of what flows through the F16 pair, on pictures and answers not in the exam,\n'
echo "tell the encoder which errors matter, and let it make up for each one in the weights still to come."
show "$program" --force --quiet demo/model "$plain" 3
show "$program" --force --quiet demo/model "$calibrated" 3 --data demo/calibration.json --save-stats "$statistics"
awk -v size="$(size "$calibrated")" -v plain="$(divergence "$plain")" -v with="$(divergence "$calibrated")" 'BEGIN {
    printf "\nThe answers of %s diverge from those of F16 by %s, calibrated by %s: %.0f %% less.\n", size, plain, with,
        100 * (1 - with / plain) }'

printf '\nAutomatic: types for each tensor, chosen by what they cost the answers, in the bytes of layered:\n'
show "$program" --force --quiet demo/model "$layered" --stats "$statistics"
target=$(cat "$layered"/*.gguf | wc -c | awk '{ printf "%.6fM", $1 / 1e6 }')
show "$program" --force demo/model "$automatic" --target-size "$target" --stats "$statistics" \
    --data demo/calibration.json |
    sed -un 1,2p # the command and the plan: the table is long
awk -v size="$(size "$automatic")" -v layered="$(divergence "$layered")" -v with="$(divergence "$automatic")" 'BEGIN {
    printf "\nWith the same statistics, the answers of layered diverge from those of F16 by %s, the plan'"'"'s by %s in %s.\n",
        layered, with, size }'

cat <<END

The report, for a browser: $report

Now you:
  $program ask $small demo/exam/00019.png "Describe the image."
  $program demo/model $out/small 4        # about 4 bits for every weight
  $program --help
END
