//! The pages: each can be found, each link leads somewhere, and the Spanish ones follow the English ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{blocks, markdown_of, prose, read, root};

/// The targets of the links of a page.
fn links(page: &str) -> Vec<String> {
    prose(page)
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect()
}

/// The local file that a link names, and the part of it. `None` where it leads out of the repository.
fn target(page: &Path, link: &str) -> Option<(PathBuf, Option<String>)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, part) = match link.split_once('#') {
        Some((file, part)) => (file, Some(part.to_owned())),
        None => (link, None),
    };
    let file = if file.is_empty() {
        page.to_owned()
    } else {
        page.parent().unwrap().join(file)
    };
    Some((file, part))
}

/// The anchor that a heading gets, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect::<String>()
        .to_lowercase()
}

/// The headings of a page, which do not stand in its blocks.
fn headings(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside && line.starts_with('#') {
            found.push(line.to_owned());
        }
    }
    found
}

/// The pages that a summary names, as files.
fn summary(folder: &str) -> BTreeSet<PathBuf> {
    let path = root().join(folder).join("SUMMARY.md");
    links(&read(&path))
        .iter()
        .map(|link| path.parent().unwrap().join(link))
        .collect()
}

#[test]
fn every_page_is_in_the_summary_of_its_language() {
    for folder in ["docs", "docs/es"] {
        let named = summary(folder);
        for page in markdown_of(&root().join(folder)) {
            let is_summary = page.ends_with("SUMMARY.md");
            assert!(
                is_summary || named.contains(&page),
                "{} is missing in {folder}/SUMMARY.md",
                page.display()
            );
        }
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_it() {
    let mut pages = Vec::new();
    for folder in [
        "",
        "docs",
        "docs/es",
        "landing",
        "benches",
        "examples/airflow",
        "examples/dagster",
        "examples/dbt",
    ] {
        pages.extend(markdown_of(&root().join(folder)));
    }
    let mut wrong = Vec::new();
    let mut followed = 0;
    for page in pages {
        for link in links(&read(&page)) {
            let Some((file, part)) = target(&page, &link) else {
                continue;
            };
            followed += 1;
            let is_there = match &part {
                _ if !file.exists() => false,
                None => true,
                Some(part) => headings(&read(&file))
                    .iter()
                    .any(|heading| anchor(heading) == *part),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(followed > 100, "only {followed} links were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_spanish_page_has_the_sections_and_the_code_of_the_english_one() {
    for spanish in markdown_of(&root().join("docs/es")) {
        let name = spanish.file_name().unwrap();
        if name == "SUMMARY.md" {
            continue;
        }
        let (here, there) = (read(&spanish), read(&root().join("docs").join(name)));
        let levels = |page: &str| -> Vec<usize> {
            headings(page)
                .iter()
                .map(|heading| heading.len() - heading.trim_start_matches('#').len())
                .collect()
        };
        assert_eq!(
            levels(&here),
            levels(&there),
            "the sections of {}",
            name.display()
        );
        // Comments are in the page's language; where they stand is all that may differ.
        let code = |page: &str| -> Vec<String> {
            blocks(page)
                .into_iter()
                .filter(|block| block.language != "text")
                .map(|block| without_comments(&block.text))
                .collect()
        };
        assert_eq!(code(&here), code(&there), "the code of {}", name.display());
    }
}

/// Code without its comments and without spaces, which line comments up.
fn without_comments(code: &str) -> String {
    code.lines()
        .map(|line| match line.split_once("# ") {
            Some((code, _)) => code,
            None => line,
        })
        .flat_map(|line| line.chars().filter(|letter| !letter.is_whitespace()))
        .collect()
}
