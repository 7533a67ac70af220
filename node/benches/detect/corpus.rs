//! Labelled log lines, made from a seed: Japanese, Singaporean, German, English and Chinese, half of them without anything
//! personal but full of numbers that look like it.
//!
//! It knows nothing of the detectors: check digits are computed here from their definitions, and numbers that only their
//! surroundings make personal are always written with a name, as people and programs write them.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "it makes test data; a mistake in it must stop the run"
)]

use base64::Engine as _;

/// A line and what is personal in it: class, first byte, byte after the last.
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) spans: Vec<(&'static str, usize, usize)>,
}

/// So many lines.
pub(crate) fn lines(seed: u64, count: usize) -> Vec<Line> {
    let mut maker = Maker { state: seed };
    (0..count).map(|place| if place % 2 == 0 { maker.personal() } else { maker.harmless() }).collect()
}

struct Maker {
    state: u64,
}

/// A value, and whether only its name makes it personal.
struct Secret {
    class: &'static str,
    text: String,
}

impl Maker {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    fn from(&mut self, alphabet: &str, count: usize) -> String {
        let signs: Vec<char> = alphabet.chars().collect();
        (0..count).map(|_| self.one(&signs)).collect()
    }

    /// A shape: `#` is any digit, `^` one from 1 to 9; all else stands for itself.
    fn shape(&mut self, shape: &str) -> String {
        let filled = |c| match c {
            '#' => char::from(b'0' + self.below(10) as u8),
            '^' => char::from(b'1' + self.below(9) as u8),
            other => other,
        };
        shape.chars().map(filled).collect()
    }

    fn secret(&mut self) -> Secret {
        type Make = fn(&mut Maker) -> Secret;
        let makers: [Make; 16] = [
            Self::email,
            Self::email,
            Self::ip,
            Self::ip,
            Self::mac,
            Self::phone,
            Self::phone,
            Self::phone,
            Self::card,
            Self::iban,
            Self::my_number,
            Self::nric,
            Self::tax_id,
            Self::id_card,
            Self::ssn,
            Self::token,
        ];
        self.one(&makers)(self)
    }

    fn email(&mut self) -> Secret {
        let local =
            self.one(&["taro.yamada", "h.tan", "anna-lena", "o.mueller", "li.wei88", "sato_k", "j.doe+shop", "ops"]);
        let number = self.below(900);
        let domain = self.one(&[
            "example.co.jp",
            "mail.example.sg",
            "beispiel.de",
            "example.com",
            "qq.example.cn",
            "post.example.org",
        ]);
        Secret { class: "email", text: format!("{local}{number}@{domain}") }
    }

    fn ip(&mut self) -> Secret {
        let text = if self.below(4) == 0 {
            format!("2001:db8:{:x}::{:x}:{:x}", self.below(65_536), self.below(65_535) + 1, self.below(65_536))
        } else {
            format!("{}.{}.{}.{}", 1 + self.below(223), self.below(256), self.below(256), 1 + self.below(254))
        };
        Secret { class: "ip", text }
    }

    fn mac(&mut self) -> Secret {
        let sign = self.one(&[":", "-"]);
        let pairs: Vec<String> = (0..5).map(|_| format!("{:02x}", self.below(256))).collect();
        Secret { class: "mac", text: format!("a{:x}{sign}{}", self.below(16), pairs.join(sign)) }
    }

    fn phone(&mut self) -> Secret {
        let shape = self.one(&[
            "+81-90-^###-####",
            "+81 3 ^### ####",
            "+8190^#######",
            "+65 9### ####",
            "+658### ####",
            "+49 30 ^######",
            "+49 171 ^######",
            "+49171^######",
            "090-^###-####",
            "080-^###-####",
            "03-^###-####",
            "06-^###-####",
            "045-^##-####",
            "090^#######",
            "9### ####",
            "8#######",
            "6### ####",
            "030 ^######",
            "0171/^######",
            "0171 ^######",
            "089-^######",
        ]);
        let text = self.shape(shape);
        Secret { class: "phone", text }
    }

    fn card(&mut self) -> Secret {
        let (front, length) =
            self.one(&[("4", 16), ("51", 16), ("55", 16), ("37", 15), ("3530", 16), ("6011", 16), ("2221", 16)]);
        let rest = self.digits(length - front.len() - 1);
        let body = format!("{front}{rest}");
        let number = format!("{body}{}", luhn_digit(&body));
        let text = match self.below(4) {
            0 if length == 16 => in_groups(&number, &[4, 4, 4, 4], " "),
            1 if length == 16 => in_groups(&number, &[4, 4, 4, 4], "-"),
            _ => number,
        };
        Secret { class: "card", text }
    }

    fn iban(&mut self) -> Secret {
        let (country, digits) = self.one(&[("DE", 18), ("AT", 16), ("CH", 17), ("ES", 20)]);
        let body = self.digits(digits);
        let whole = format!("{body}{country}00");
        let rest = whole.bytes().fold(0_u64, |rest, sign| match sign {
            b'0'..=b'9' => (rest * 10 + u64::from(sign - b'0')) % 97,
            letter => (rest * 100 + u64::from(letter - b'A') + 10) % 97,
        });
        let number = format!("{country}{:02}{body}", 98 - rest);
        let text = if self.below(2) == 0 { number } else { in_groups(&number, &[4; 8], " ") };
        Secret { class: "iban", text }
    }

    fn my_number(&mut self) -> Secret {
        let body = self.shape("^##########");
        let sum: u32 =
            body.bytes().rev().zip([2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6]).map(|(d, w)| u32::from(d - b'0') * w).sum();
        let check = if sum % 11 <= 1 { 0 } else { 11 - sum % 11 };
        let number = format!("{body}{check}");
        let text = if self.below(3) == 0 { in_groups(&number, &[4, 4, 4], self.one(&[" ", "-"])) } else { number };
        Secret { class: "my_number", text }
    }

    fn nric(&mut self) -> Secret {
        let prefix = self.one(&['S', 'T', 'F', 'G', 'M']);
        let body = self.digits(7);
        let sum: usize = body.bytes().zip([2, 7, 6, 5, 4, 3, 2]).map(|(d, w)| usize::from(d - b'0') * w).sum();
        let letter = match prefix {
            'S' => b"JZIHGFEDCBA"[sum % 11],
            'T' => b"JZIHGFEDCBA"[(sum + 4) % 11],
            'F' => b"XWUTRQPNMLK"[sum % 11],
            'G' => b"XWUTRQPNMLK"[(sum + 4) % 11],
            _ => b"KLJNPQRTUWX"[10 - (sum + 3) % 11],
        };
        Secret { class: "nric", text: format!("{prefix}{body}{}", char::from(letter)) }
    }

    fn tax_id(&mut self) -> Secret {
        let mut pool: Vec<u8> = (0..10).collect();
        for place in (1..10).rev() {
            pool.swap(place, self.below(place + 1));
        }
        // Nine different digits, one of them twice and not beside itself thrice.
        let mut digits = pool[..9].to_vec();
        let twice = digits[self.below(9)];
        digits.insert(1 + self.below(9), twice);
        if digits[0] == 0 {
            let other = digits.iter().position(|digit| *digit != 0).unwrap();
            digits.swap(0, other);
        }
        let mut product = 10;
        for digit in &digits {
            let sum = (u32::from(*digit) + product) % 10;
            product = (if sum == 0 { 10 } else { sum }) * 2 % 11;
        }
        let body: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let number = format!("{body}{}", (11 - product) % 10);
        let text = if self.below(3) == 0 { in_groups(&number, &[2, 3, 3, 3], " ") } else { number };
        Secret { class: "tax_id", text }
    }

    fn id_card(&mut self) -> Secret {
        let first = self.from("LMNPRTVWXY", 1);
        let body = format!("{first}{}", self.from("0123456789CFGHJKLMNPRTVWXYZ", 8));
        let value = |sign: u8| if sign.is_ascii_digit() { u32::from(sign - b'0') } else { u32::from(sign - b'A') + 10 };
        let sum: u32 = body.bytes().zip([7, 3, 1].into_iter().cycle()).map(|(sign, weight)| value(sign) * weight).sum();
        Secret { class: "id_card", text: format!("{body}{}", sum % 10) }
    }

    fn ssn(&mut self) -> Secret {
        Secret {
            class: "ssn",
            text: format!("{}-{:02}-{}", 100 + self.below(500), 1 + self.below(98), self.shape("^###")),
        }
    }

    fn token(&mut self) -> Secret {
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        if self.below(2) == 0 {
            let body = self.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16);
            return Secret { class: "cloud_key", text: format!("AKIA{body}") };
        }
        let (payload, signature) = (self.from(letters, 40), self.from(letters, 43));
        Secret { class: "jwt", text: format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{payload}.{signature}") }
    }

    /// How a number of a class is named in a language.
    fn name(&mut self, class: &str) -> &'static str {
        match class {
            "phone" => self.one(&[
                "phone",
                "tel",
                "Telefon",
                "電話",
                "携帯電話",
                "mobile",
                "手机",
                "电话",
                "phoneNumber",
                "contact phone",
            ]),
            "my_number" => self.one(&["マイナンバー", "個人番号", "my_number", "My Number"]),
            "tax_id" => self.one(&["Steuer-ID", "steuerId", "Steuer-Identifikationsnummer", "IdNr", "tax_id"]),
            "id_card" => self.one(&["Personalausweis", "Ausweisnummer", "id_card", "Personalausweisnummer"]),
            "ssn" => self.one(&["ssn", "SSN", "social security number"]),
            "nric" => self.one(&["nric", "NRIC/FIN", "ic", "user"]),
            "card" => self.one(&["card", "カード番号", "Kreditkarte", "pan", "卡号"]),
            "iban" => self.one(&["iban", "IBAN", "Konto", "account"]),
            "email" => self.one(&["email", "user", "メール", "E-Mail", "邮箱", "to"]),
            "ip" => self.one(&["ip", "client", "remote_addr", "接続元", "peer"]),
            "mac" => self.one(&["mac", "device", "hwaddr", "端末"]),
            _ => self.one(&["token", "key", "credential", "Schlüssel"]),
        }
    }

    fn personal(&mut self) -> Line {
        let Secret { class, text: value } = self.secret();
        let name = self.name(class);
        let (written, kind) = self.dressed(&value);
        let noise = self.noise();
        let (before, after) = match self.below(10) {
            0 => (
                format!("{{\"ts\":\"2026-11-20T10:{:02}:00Z\",\"level\":\"info\",\"{name}\":\"", self.below(60)),
                format!("\",\"n\":{noise}}}"),
            ),
            1 => (format!("{noise} level=warn {name}="), format!(" status={}", 200 + self.below(300))),
            2 => (
                format!(
                    "Nov 20 10:{:02}:11 web-{} app[{}]: {name}: ",
                    self.below(60),
                    self.below(9),
                    self.below(99_999)
                ),
                " accepted".to_owned(),
            ),
            3 => (format!("お客様の{name}は"), format!("です。処理番号 {noise}")),
            4 => (format!("Der Kunde mit {name} "), format!(" wurde gesucht, Vorgang {noise}")),
            5 => (format!("用户{name}："), format!("，耗时 {} 毫秒", self.below(9_999))),
            6 => (
                format!("java.lang.IllegalStateException: bad {name} '"),
                format!("'\\n\\tat shop.Pay.run(Pay.java:{})", self.below(999)),
            ),
            7 => (format!("[{noise}] lookup {name} ("), ")".to_owned()),
            8 => (format!("payload={{\\\"{name}\\\":\\\""), format!("\\\",\\\"took\\\":{}}}", self.below(999))),
            _ => (format!("Customer wrote: my {name} is "), ", please update".to_owned()),
        };
        let (from, to) = (before.len(), before.len() + written.len());
        let _ = kind;
        Line { text: format!("{before}{written}{after}"), spans: vec![(class, from, to)] }
    }

    /// A value as it is, in full-width signs, or escaped for an address.
    fn dressed(&mut self, value: &str) -> (String, usize) {
        let kind = self.below(12);
        let text = match kind {
            0 => value
                .chars()
                .map(|c| if ('!'..='~').contains(&c) { char::from_u32(c as u32 + 0xFEE0).unwrap() } else { '\u{3000}' })
                .collect(),
            1 => value
                .bytes()
                .map(|b| {
                    if b.is_ascii_alphanumeric() || b".-".contains(&b) {
                        char::from(b).to_string()
                    } else {
                        format!("%{b:02X}")
                    }
                })
                .collect(),
            _ => value.to_owned(),
        };
        (text, kind)
    }

    /// A number, an id or a version that is nobody's.
    fn noise(&mut self) -> String {
        match self.below(16) {
            0 => self.shape("1763#######"),
            1 => self.shape("1763#########"),
            2 => self.shape("1763############"),
            3 => self.shape("1763###############"),
            4 => self.from("0123456789abcdef", 32),
            5 => self.from("0123456789abcdef", 16),
            6 => format!(
                "{}-{}-4{}-a{}-{}",
                self.from("0123456789abcdef", 8),
                self.from("0123456789abcdef", 4),
                self.from("0123456789abcdef", 3),
                self.from("0123456789abcdef", 3),
                self.from("0123456789abcdef", 12)
            ),
            7 => self.shape("SKU-###-#####"),
            8 => self.shape("v^.#.##-rc.#"),
            9 => self.shape("^.##.#.######"),
            10 => self.shape("2026-11-20 10:##:##,###"),
            11 => self.from("0123456789abcdef", 40),
            12 => self.shape("^######"),
            13 => self.shape("0x7fff########"),
            14 => self.shape("^#.######, 1^#.######"),
            _ => self.shape("blk_-^##################"),
        }
    }

    fn harmless(&mut self) -> Line {
        let (a, b, c) = (self.noise(), self.noise(), self.noise());
        let number = self.below(100_000);
        let text = match self.below(17) {
            0 => format!(
                "{{\"trace_id\":\"{}\",\"span\":\"{}\",\"took_us\":{number},\"id\":\"{a}\"}}",
                self.from("0123456789abcdef", 32),
                self.from("0123456789abcdef", 16)
            ),
            1 => format!(
                "order={} sku={} total={number}.00 ref={a}",
                self.shape("^###########"),
                self.shape("^############")
            ),
            2 => format!("注文番号{}を受け付けました（{a}）", self.shape("^###########")),
            3 => format!(
                "Bestellung {} vom 20.11.2026, Artikel {}",
                self.shape("^##########"),
                self.shape("^##-##-####")
            ),
            4 => format!("订单{}已发货，快递单号{}", self.shape("^##########"), self.shape("^###########")),
            5 => format!(
                "INFO [main] o.a.h.TaskImpl: attempt_{}_{:04}_m_{:06}_0 {a}",
                self.shape("1763#########"),
                self.below(9999),
                number
            ),
            6 => format!(
                "dd.trace_id={} dd.span_id={} {b}",
                self.shape("^##################"),
                self.shape("^##################")
            ),
            7 => format!(
                "kernel: [{}.{}] BIOS-e820: mem {} {c}",
                number,
                self.digits(6),
                self.shape("0x################")
            ),
            8 => format!("tel me more: session {} has {} retries, code {a}", self.from("0123456789abcdef", 24), number),
            9 => {
                format!("firmware version {} build {} on node-{number}", self.shape("^.##.#.#"), self.shape("^#######"))
            }
            10 => format!("伝票 {} 商品 {} 数量 {number}", self.shape("^###-####-####"), self.shape("4############")),
            11 => format!(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{}.0.0.0 Safari/537.36 {a}",
                90 + self.below(50)
            ),
            12 => format!(
                "com.example.shop.Checkout$Worker@{} at shop.Pay.run(Pay.java:{number}) {b}",
                self.from("0123456789abcdef", 7)
            ),
            13 => {
                let body = format!("{{\"step\":{number},\"ok\":true,\"ref\":\"{a}\"}}");
                format!("blob={}", base64::engine::general_purpose::STANDARD.encode(body))
            }
            14 => format!(
                "GET /items/{}?page={}&sort=desc%2Cname HTTP/1.1 200 {number}",
                self.shape("^########"),
                self.below(99)
            ),
            15 => format!(
                "Rechnung {} über {number},50 EUR, Kundennummer {}",
                self.shape("RE-2026-######"),
                self.shape("^#########")
            ),
            _ => format!("{a} {b} {c} 処理が完了しました 耗时{number} dauerte {}", self.shape("^##.##")),
        };
        Line { text, spans: Vec::new() }
    }
}

fn luhn_digit(body: &str) -> u32 {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0');
            if place % 2 == 1 { value } else { value * 2 / 10 + value * 2 % 10 }
        })
        .sum();
    (10 - sum % 10) % 10
}

fn in_groups(text: &str, lengths: &[usize], sign: &str) -> String {
    let mut rest = text;
    let mut groups = Vec::new();
    for length in lengths {
        let (group, after) = rest.split_at(rest.len().min(*length));
        if !group.is_empty() {
            groups.push(group);
        }
        rest = after;
    }
    groups.join(sign)
}
