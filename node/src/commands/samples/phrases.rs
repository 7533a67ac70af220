//! What the services of the samples say, in English, Japanese, Chinese and German.

/// A language of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Japanese,
    Chinese,
    German,
}

impl Language {
    /// What people of the region speak beside English.
    pub(super) fn of_region(region: &str) -> Self {
        match region {
            "tokyo" => Self::Japanese,
            "singapore" => Self::Chinese,
            "frankfurt" => Self::German,
            _ => Self::English,
        }
    }

    /// ISO 639-1.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
            Self::Chinese => "zh",
            Self::German => "de",
        }
    }
}

/// One thing a service says.
pub(super) struct Phrase {
    pub(super) level: &'static str,
    pub(super) service: &'static str,
    /// English, Japanese, Chinese, German.
    texts: [&'static str; 4],
}

impl Phrase {
    pub(super) const fn text(&self, language: Language) -> &'static str {
        let [english, japanese, chinese, german] = self.texts;
        match language {
            Language::English => english,
            Language::Japanese => japanese,
            Language::Chinese => chinese,
            Language::German => german,
        }
    }
}

const fn says(level: &'static str, service: &'static str, texts: [&'static str; 4]) -> Phrase {
    Phrase { level, service, texts }
}

/// Test numbers of the payment industry; they pass the check digit and belong to nobody.
pub(super) const CARDS: [&str; 4] =
    ["4242 4242 4242 4242", "5555 5555 5555 4444", "4000 0566 5566 5556", "3782 822463 10005"];

/// What goes wrong in the one incident.
pub(super) const INCIDENT: Phrase = says(
    "ERROR",
    "payments",
    [
        "payment for order {order} failed: card processor timed out after {ms} ms",
        "注文 {order} の決済に失敗しました: カード処理が {ms} ms でタイムアウト",
        "订单 {order} 支付失败：银行卡处理在 {ms} 毫秒后超时",
        "Zahlung für Bestellung {order} fehlgeschlagen: Kartenabwicklung nach {ms} ms abgelaufen",
    ],
);

/// The stream of customers' doings.
pub(super) const SHOP: [Phrase; 14] = [
    says(
        "INFO",
        "checkout",
        [
            "order {order} placed, total {amount}",
            "注文 {order} を受け付けました。合計 {amount}",
            "订单 {order} 已提交，总额 {amount}",
            "Bestellung {order} aufgegeben, Summe {amount}",
        ],
    ),
    says(
        "INFO",
        "checkout",
        [
            "confirmation for order {order} sent to {email}",
            "注文 {order} の確認メールを {email} に送信しました",
            "订单 {order} 的确认邮件已发送至 {email}",
            "Bestätigung der Bestellung {order} an {email} gesendet",
        ],
    ),
    says(
        "WARN",
        "checkout",
        [
            "checkout of order {order} took {ms} ms",
            "注文 {order} の購入手続きに {ms} ms かかりました",
            "订单 {order} 结账耗时 {ms} 毫秒",
            "Kaufabschluss der Bestellung {order} dauerte {ms} ms",
        ],
    ),
    says(
        "INFO",
        "payments",
        [
            "card {card} charged {amount} for order {order}",
            "カード {card} に {amount} を請求しました (注文 {order})",
            "银行卡 {card} 已扣款 {amount}，订单 {order}",
            "Karte {card} mit {amount} belastet, Bestellung {order}",
        ],
    ),
    says(
        "INFO",
        "payments",
        [
            "payment for order {order} settled in {ms} ms",
            "注文 {order} の決済が {ms} ms で完了しました",
            "订单 {order} 支付在 {ms} 毫秒内完成",
            "Zahlung für Bestellung {order} in {ms} ms gebucht",
        ],
    ),
    says(
        "WARN",
        "payments",
        [
            "card declined for order {order}, asking for another one",
            "注文 {order} のカードが拒否されました。別のカードを求めます",
            "订单 {order} 的银行卡被拒绝，请求更换",
            "Karte für Bestellung {order} abgelehnt, eine andere wird erbeten",
        ],
    ),
    says(
        "INFO",
        "gateway",
        [
            "GET /products 200 from {ip} in {ms} ms",
            "GET /products 200 {ip} から {ms} ms",
            "GET /products 200 来自 {ip} 用时 {ms} 毫秒",
            "GET /products 200 von {ip} in {ms} ms",
        ],
    ),
    says(
        "INFO",
        "gateway",
        [
            "POST /cart 201 from {ip} in {ms} ms",
            "POST /cart 201 {ip} から {ms} ms",
            "POST /cart 201 来自 {ip} 用时 {ms} 毫秒",
            "POST /cart 201 von {ip} in {ms} ms",
        ],
    ),
    says(
        "WARN",
        "gateway",
        [
            "too many requests from {ip}, slowing down",
            "{ip} からのリクエストが多すぎるため制限します",
            "来自 {ip} 的请求过多，已限速",
            "zu viele Anfragen von {ip}, wird gebremst",
        ],
    ),
    says(
        "INFO",
        "inventory",
        [
            "stock reserved for order {order}",
            "注文 {order} の在庫を確保しました",
            "已为订单 {order} 预留库存",
            "Bestand für Bestellung {order} reserviert",
        ],
    ),
    says(
        "ERROR",
        "inventory",
        [
            "no stock left for order {order}",
            "注文 {order} の在庫がありません",
            "订单 {order} 库存不足",
            "kein Bestand mehr für Bestellung {order}",
        ],
    ),
    says(
        "INFO",
        "auth",
        [
            "login of {email} from {ip}",
            "{email} が {ip} からログインしました",
            "{email} 从 {ip} 登录",
            "Anmeldung von {email} aus {ip}",
        ],
    ),
    says(
        "WARN",
        "auth",
        [
            "wrong password for {email} from {ip}",
            "{email} のパスワードが違います ({ip})",
            "{email} 密码错误，来自 {ip}",
            "falsches Kennwort für {email} aus {ip}",
        ],
    ),
    says(
        "DEBUG",
        "auth",
        [
            "session renewed in {ms} ms",
            "セッションを {ms} ms で更新しました",
            "会话在 {ms} 毫秒内续期",
            "Sitzung in {ms} ms erneuert",
        ],
    ),
];

/// The stream of machines.
pub(super) const INFRA: [Phrase; 6] = [
    says("INFO", "scheduler", ["job reindex finished in {ms} ms"; 4]),
    says("DEBUG", "scheduler", ["next run in {ms} ms"; 4]),
    says("INFO", "database", ["checkpoint complete in {ms} ms"; 4]),
    says("WARN", "database", ["slow query took {ms} ms"; 4]),
    says("INFO", "cache", ["evicted 1024 entries in {ms} ms"; 4]),
    says("ERROR", "cache", ["connection pool exhausted, waited {ms} ms"; 4]),
];
