//! Volumes that fill up and are freed again while the mover is killed.
//!
//! `RELOCATION_MOVER_KILLS` is the number of rounds for each volume (default 3).

use super::bench::Bench;
use super::faults::with_mounts;
use super::killing::Chance;

#[test]
fn killed_beside_a_volume_that_fills_up_every_step_ends_the_same() {
    let rounds: u64 = std::env::var("RELOCATION_MOVER_KILLS").map_or(3, |text| text.parse().unwrap());
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    for round in 0..rounds {
        for small in ["workspace", "target"] {
            let bench = Bench::new().with_source();
            for number in 0..60_u8 {
                bench.write(&format!("source/d{}/{number:02}", number % 4), vec![number; 3000 * usize::from(number)]);
            }
            // How much is taken and when the kill comes, for each attempt.
            let mut moments = || {
                let moment = |_| format!("{}:0.{:03}", 12_000_000 - chance.below(7_000_000), chance.below(80));
                (0..4).map(moment).collect::<Vec<_>>().join(" ")
            };
            let script = format!(
                r#"
                mount -t tmpfs -o size=12m tmpfs "$ROOT/{small}"
                attempts() {{
                    moments=$1; shift
                    for moment in $moments; do
                        head -c "${{moment%:*}}" /dev/zero > "$ROOT/{small}/ballast" || true
                        code=0
                        timeout -s KILL "${{moment#*:}}" "$MOVER" --termination-log "$ROOT/result" "$@" --workspace "$ROOT/workspace" >/dev/null 2>&1 || code=$?
                        if [ "$code" = 137 ]; then echo '137 {{}}'; else printf '%s %s\n' "$code" "$(cat "$ROOT/result")"; fi
                        rm "$ROOT/{small}/ballast"
                    done
                }}
                attempts "{}" upload --source "$ROOT/source"
                step upload --source "$ROOT/source"
                step validate
                attempts "{}" import --target "$ROOT/target"
                step import --target "$ROOT/target"
                attempts "{}" postprocess --target "$ROOT/target"
                step postprocess --target "$ROOT/target"
                step postprocess --target "$ROOT/target"
                diff -r --no-dereference "$ROOT/source" "$ROOT/target" >&2
                "#,
                moments(),
                moments(),
                moments()
            );
            let steps = with_mounts(&bench, &script);
            let told = format!("round {round}, a small {small}: {steps:?}");
            assert_eq!(steps.len(), 3 * 4 + 5, "{told}");
            for (index, (code, result)) in steps.iter().enumerate() {
                if [4, 5, 10, 15, 16].contains(&index) {
                    assert_eq!(*code, 0, "{index} {told}");
                } else if *code == 65 {
                    let message = result["message"].as_str().unwrap();
                    let is_named = message.contains(&format!("of the {small}: no space left on device"));
                    assert!(is_named, "{index} {told}");
                } else {
                    assert!([0, 137].contains(code), "{index} {told}");
                }
            }
            assert_eq!(steps[5].1["verdict"], "VALID", "{told}");
            assert_eq!(steps[16].1["counts"]["extra"], 0, "{told}");
        }
    }
}
