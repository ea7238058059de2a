//! What a page carries: its own style and script, and the libraries that draw its charts. `assets/SHA256SUMS` has the
//! libraries' checksums, which a test compares.

/// The page's style.
pub(crate) const STYLE: &str = include_str!("assets/page.css");

/// The page's script.
pub(crate) const SCRIPT: &str = include_str!("assets/page.js");

/// What the libraries hold of others, with their licences.
pub(crate) const THIRD_PARTY: &str = include_str!("assets/THIRD-PARTY.txt");

/// A library, as its authors built it.
#[derive(Debug)]
pub(crate) struct Library {
    /// Its name and version.
    pub(crate) name: &'static str,
    /// Its code.
    code: &'static str,
    /// Its licence, which goes wherever the code goes.
    licence: &'static str,
}

/// The libraries, in the order in which each needs those before.
pub(crate) const LIBRARIES: [Library; 3] = [
    Library {
        name: "Vega 6.4.0",
        code: include_str!("assets/vega-6.4.0.min.js"),
        licence: include_str!("assets/vega.LICENSE"),
    },
    Library {
        name: "Vega-Lite 6.5.0",
        code: include_str!("assets/vega-lite-6.5.0.min.js"),
        licence: include_str!("assets/vega-lite.LICENSE"),
    },
    Library {
        name: "Vega-Embed 7.3.0",
        code: include_str!("assets/vega-embed-7.3.0.min.js"),
        licence: include_str!("assets/vega-embed.LICENSE"),
    },
];

/// Where a library says that its source map is. The page fetches nothing.
const SOURCE_MAP: &str = "\n//# sourceMappingURL=";

impl Library {
    /// The library as a script: its licence and its code.
    pub(crate) fn script(&self) -> String {
        let code = match self.code.rsplit_once(SOURCE_MAP) {
            Some((code, _)) => code,
            None => self.code,
        };
        // In a script, HTML knows one thing: where it ends.
        let code = code
            .replace("</script", "<\\/script")
            .replace("<!--", "<\\!--");
        format!("/*! {}\n{}*/\n{}", self.name, self.licence, code.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::names::hex;

    #[test]
    fn the_libraries_are_those_whose_checksums_are_pinned() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/assets");
        let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let pinned: Vec<(&str, &str)> = sums
            .lines()
            .map(|line| line.split_once("  ").unwrap())
            .collect();
        assert_eq!(pinned.len(), LIBRARIES.len());
        for (sum, name) in &pinned {
            let code = std::fs::read(folder.join(name)).unwrap();
            assert_eq!(hex(&Sha256::digest(&code)), *sum, "{name}");
            assert!(
                LIBRARIES
                    .iter()
                    .any(|library| library.code.as_bytes() == code),
                "{name} is not in the page"
            );
        }
    }

    #[test]
    fn the_licences_of_what_is_bundled_end_no_comment() {
        assert!(THIRD_PARTY.contains("d3-array") && THIRD_PARTY.contains("fast-json-patch"));
        assert!(!THIRD_PARTY.contains("*/") && !THIRD_PARTY.contains("</script"));
    }

    #[test]
    fn a_library_comes_with_its_licence_and_ends_no_script() {
        for library in LIBRARIES {
            let script = library.script();
            assert!(
                script.contains("Redistributions in binary form"),
                "{}",
                library.name
            );
            assert!(!script.contains("</script") && !script.contains("sourceMappingURL"));
            assert_eq!(script.matches("*/\n").count(), 1, "{}", library.name);
        }
    }
}
