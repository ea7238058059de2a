//! Rows for the operational schema, made by the server itself: from a hundred sales to tens of millions, in seconds.
//!
//! Each value is a function of the row's number and the seed alone, by `hashint8extended`, whose arithmetic does not
//! depend on the machine. So the same [`Seed`] gives the same rows everywhere, which `random()` would not.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use postgres::{Client, Transaction};

/// Tables of more rows than this lose their indices while they are filled.
const WITH_INDICES: u64 = 20_000;
/// Microseconds from the first sale, at [`EPOCH`], to the last: 1,000 days, so that all is over by the end of 2025
/// and later changes, dated by the server's clock, come after every seeded row.
const SPAN: u64 = 1_000 * DAY;
const DAY: u64 = 86_400_000_000;
const EPOCH: &str = "2023-01-01";

/// Which rows to make. The defaults of [`Seed::new`] are changed by the methods or by struct update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Decides every value.
    pub seed: u64,
    /// Number of sales. Clients are a fiftieth of it and ten; courses between 60 and 200.
    pub ventas: u64,
    /// Number of participants.
    pub participantes: u64,
    /// Number of activities.
    pub actividades: u64,
}

/// What [`Seed::apply`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeded {
    /// Rows in `clientes`.
    pub clientes: u64,
    /// Rows in `cursos`.
    pub cursos: u64,
    /// Rows in `ventas`.
    pub ventas: u64,
    /// Rows in `participantes`.
    pub participantes: u64,
    /// Rows in `actividades_participantes`.
    pub actividades: u64,
    /// Time it took.
    pub elapsed: Duration,
}

impl Seed {
    /// So many sales, as many participants, and twice as many activities.
    #[must_use]
    pub const fn new(seed: u64, ventas: u64) -> Self {
        Self {
            seed,
            ventas,
            participantes: ventas,
            actividades: ventas.saturating_mul(2),
        }
    }

    /// No participants and no activities: clients, courses and sales only.
    #[must_use]
    pub const fn only_ventas(mut self) -> Self {
        self.participantes = 0;
        self.actividades = 0;
        self
    }

    /// So many participants.
    #[must_use]
    pub const fn participantes(mut self, rows: u64) -> Self {
        self.participantes = rows;
        self
    }

    /// So many activities.
    #[must_use]
    pub const fn actividades(mut self, rows: u64) -> Self {
        self.actividades = rows;
        self
    }

    /// Number of clients that these sales have.
    #[must_use]
    pub const fn clientes(&self) -> u64 {
        self.ventas / 50 + 10
    }

    /// Number of courses: 60 to 200, by the seed.
    #[must_use]
    pub const fn cursos(&self) -> u64 {
        60 + mix(self.seed) % 141
    }

    /// Fills the tables of `schema.sql`, which must be empty, in one transaction. Needs a superuser, since foreign keys
    /// and triggers are passed over. Sequences go on after the last row; planner statistics are up to date.
    ///
    /// # Errors
    /// When a table is absent or has rows, and when rows refer to a table that is to have none.
    pub fn apply(&self, client: &mut Client) -> Result<Seeded> {
        if self.participantes > 0 && self.ventas == 0 {
            bail!("participants need sales");
        }
        if self.actividades > 0 && self.participantes == 0 {
            bail!("activities need participants");
        }
        let start = Instant::now();
        let mut tx = client.transaction()?;
        tx.batch_execute(
            "SET LOCAL session_replication_role = replica;
             SET LOCAL synchronous_commit = off;
             SET LOCAL maintenance_work_mem = '512MB';",
        )
        .context("seeding needs a superuser")?;
        let (clientes, cursos) = (self.clientes(), self.cursos());
        let hash = Hash::new(self.seed);
        fill(
            &mut tx,
            "clientes",
            clientes,
            &clientes_rows(&hash, clientes),
        )?;
        fill(&mut tx, "cursos", cursos, &cursos_rows(&hash, cursos))?;
        fill(&mut tx, "ventas", self.ventas, &self.ventas_rows(&hash))?;
        fill(
            &mut tx,
            "participantes",
            self.participantes,
            &self.participantes_rows(&hash),
        )?;
        fill(
            &mut tx,
            "actividades_participantes",
            self.actividades,
            &self.actividades_rows(&hash),
        )?;
        tx.batch_execute(
            "ANALYZE clientes, cursos, ventas, participantes, actividades_participantes",
        )?;
        tx.commit()?;
        Ok(Seeded {
            clientes,
            cursos,
            ventas: self.ventas,
            participantes: self.participantes,
            actividades: self.actividades,
            elapsed: start.elapsed(),
        })
    }

    fn ventas_rows(&self, hash: &Hash) -> String {
        let step = (SPAN / self.ventas.max(1)).max(1);
        let created = format!(
            "(n * {step} - {step} + {})",
            hash.below("n", "creada", step)
        );
        // A product of two uniform numbers: some clients buy much more than others.
        let cliente = format!(
            "(1 + {} * {} / 1000)",
            hash.below("n", "cliente", self.clientes()),
            hash.below("n", "afinidad", 1000)
        );
        let curso = format!("(1 + {})", hash.below("n", "curso", self.cursos()));
        let columns = venta_columns(
            hash,
            &cliente,
            &curso,
            &format!("(date '{EPOCH}' + ({created} / {DAY})::integer)"),
        );
        let updated = instant(&format!(
            "({created} + {})",
            hash.below("n", "actualizada", 90 * DAY)
        ));
        format!(
            "SELECT n, {columns}, {updated} FROM {}",
            numbers(1, self.ventas)
        )
    }

    fn participantes_rows(&self, hash: &Hash) -> String {
        let nombre = hash.pick("n", "nombre", NAMES);
        let apellido = hash.pick("n", "apellido", SURNAMES);
        let email = format!(
            "translate(lower({nombre} || '.' || {apellido}), 'áéíóúñü', 'aeiounu') || n || '@' || {}",
            hash.pick(
                "n",
                "correo",
                &["correo.example", "empresa.example", "buzon.example"]
            )
        );
        format!(
            "SELECT n, 1 + {venta}, {nombre}, {apellido},
                    CASE WHEN {sin_correo} > 0 THEN {email} END,
                    CASE WHEN {sin_nota} > 0 THEN {nota} * 0.01 END
             FROM {numbers}",
            venta = hash.below("n", "venta", self.ventas),
            sin_correo = hash.below("n", "sin correo", 15),
            sin_nota = hash.below("n", "sin nota", 4),
            nota = hash.below("n", "nota", 1001),
            numbers = numbers(1, self.participantes),
        )
    }

    fn actividades_rows(&self, hash: &Hash) -> String {
        let step = (SPAN / self.actividades.max(1)).max(1);
        let participante = format!(
            "(1 + {})",
            hash.below("n", "participante", self.participantes)
        );
        let columns = actividad_columns(hash, &participante);
        let at = instant(&format!(
            "(n * {step} - {step} + {})",
            hash.below("n", "momento", step)
        ));
        format!(
            "SELECT n, {columns}, {at} FROM {}",
            numbers(1, self.actividades)
        )
    }
}

fn clientes_rows(hash: &Hash, rows: u64) -> String {
    let place = hash.pick("n", "lugar", PLACES);
    let trade = hash.pick("n", "ramo", TRADES);
    format!(
        "SELECT n, {trade} || ' ' || {place} || ' ' || {form},
                CASE WHEN {sin_dominio} > 0
                     THEN translate(lower(replace({place}, ' ', '-')), 'áéíóúñü', 'aeiounu') || '-' || n || '.example' END,
                CASE WHEN {sin_texto} > 0
                     THEN {trade} || ' de ' || {place} || ', cliente desde ' || 1990 + {desde} END,
                {registro}
         FROM {numbers}",
        form = hash.pick("n", "forma", FORMS),
        sin_dominio = hash.below("n", "sin dominio", 12),
        sin_texto = hash.below("n", "sin texto", 3),
        desde = hash.below("n", "desde", 33),
        registro = instant(&hash.below("n", "registro", SPAN)),
        numbers = numbers(1, rows),
    )
}

fn cursos_rows(hash: &Hash, rows: u64) -> String {
    let topic = hash.pick("n", "tema", TOPICS);
    format!(
        "SELECT n, {topic} || ' ' || {level} || ' (' || n || ')',
                CASE WHEN {sin_texto} > 0 THEN 'Curso de ' || lower({topic}) || ' para empresas' END,
                4 + 4 * {horas}, {precio} * 0.01
         FROM {numbers}",
        level = hash.pick("n", "nivel", &["básico", "intermedio", "avanzado", "para directivos", "intensivo"]),
        sin_texto = hash.below("n", "sin texto curso", 8),
        horas = hash.below("n", "horas", 20),
        precio = precio_base(hash, "n"),
        numbers = numbers(1, rows),
    )
}

/// Cents that a course costs.
fn precio_base(hash: &Hash, curso: &str) -> String {
    format!("(9900 + {})", hash.below(curso, "precio", 240_000))
}

/// Columns of `ventas` between `id` and `updated_at`, for the row numbered `n`.
pub(crate) fn venta_columns(hash: &Hash, cliente: &str, curso: &str, fecha: &str) -> String {
    let start = format!("{fecha} + (7 + {})::integer", hash.below("n", "inicio", 60));
    let end = format!("{start} + ({})::integer", hash.below("n", "fin", 30));
    let undated = hash.below("n", "sin fecha", 12);
    let people = format!("(1 + {})", hash.below("n", "asistentes", 25));
    format!(
        "{cliente}, {curso}, {fecha},
         CASE WHEN {undated} > 0 THEN {start} END,
         CASE WHEN {undated} > 1 THEN {end} END,
         {people},
         {people} * {price} * (100 - {discount}) / 100 * 0.01,
         {estado}",
        price = precio_base(hash, curso),
        discount = hash.below("n", "descuento", 31),
        estado = hash.pick("n", "estado", STATES),
    )
}

/// Columns of `actividades_participantes` between `id` and `timestamp`, then `detalles`, for the row numbered `n`.
/// The table's own order has `timestamp` before `detalles`; `columns_of` names it accordingly.
pub(crate) fn actividad_columns(hash: &Hash, participante: &str) -> String {
    format!(
        "{participante}, {tipo},
         CASE WHEN {sin_contenido} > 0 THEN 1 + {contenido} END,
         CASE WHEN {sin_detalles} > 0
              THEN ('{{\"duracion_s\": ' || {duracion} || ', \"dispositivo\": \"' || {dispositivo}
                    || '\", \"progreso\": ' || {progreso} * 0.1 || '}}')::jsonb END",
        tipo = hash.pick("n", "tipo", ACTIVITIES),
        sin_contenido = hash.below("n", "sin contenido", 10),
        contenido = hash.below("n", "contenido", 5000),
        sin_detalles = hash.below("n", "sin detalles", 5),
        duracion = hash.below("n", "duracion", 3600),
        dispositivo = hash.pick(
            "n",
            "dispositivo",
            &["móvil", "tableta", "portátil", "aula"]
        ),
        progreso = hash.below("n", "progreso", 1001),
    )
}

/// Columns of each table, in the order in which the rows above give them.
fn columns_of(table: &str) -> &'static str {
    match table {
        "clientes" => "id, nombre, dominio, descripcion, fecha_registro",
        "cursos" => "id, nombre, descripcion, duracion_horas, precio_base",
        "ventas" => {
            "id, cliente_id, curso_id, fecha_venta, fecha_inicio, fecha_fin, num_participantes, precio_total, estado, \
             updated_at"
        }
        "participantes" => "id, venta_id, nombre, apellido, email, calificacion",
        _ => "id, participante_id, tipo_actividad, contenido_id, detalles, \"timestamp\"",
    }
}

fn fill(tx: &mut Transaction<'_>, table: &str, rows: u64, select: &str) -> Result<()> {
    let occupied: bool = tx
        .query_one(&format!("SELECT EXISTS (SELECT FROM {table})"), &[])
        .with_context(|| format!("cannot read {table}: is schema.sql applied?"))?
        .try_get(0)?;
    if occupied {
        bail!("{table} has rows already: seed an empty database");
    }
    if rows == 0 {
        return Ok(());
    }
    let (drops, creates) = if rows > WITH_INDICES {
        indices(tx, table)?
    } else {
        Default::default()
    };
    tx.batch_execute(&drops)?;
    tx.batch_execute(&format!(
        "INSERT INTO {table} ({}) {select}",
        columns_of(table)
    ))
    .with_context(|| format!("cannot fill {table}"))?;
    tx.batch_execute(&creates)?;
    tx.execute(
        &format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"),
        &[],
    )?;
    Ok(())
}

/// Statements that drop, and that make again, the indices of a table that no constraint needs.
fn indices(tx: &mut Transaction<'_>, table: &str) -> Result<(String, String)> {
    let rows = tx.query(
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
         FROM pg_index i
         WHERE i.indrelid = to_regclass($1::text)
           AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
         ORDER BY 1",
        &[&table],
    )?;
    let (mut drops, mut creates) = (String::new(), String::new());
    for row in rows {
        let (name, definition): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        write!(drops, "DROP INDEX {name};")?;
        write!(creates, "{definition};")?;
    }
    Ok((drops, creates))
}

/// `n` from `first` to `last`, handed on one at a time (a set in FROM would be stored first).
pub(crate) fn numbers(first: u64, last: u64) -> String {
    format!("(SELECT generate_series({first}::bigint, {last}::bigint) AS n) AS numbers")
}

/// The point in time so many microseconds after [`EPOCH`].
fn instant(micros: &str) -> String {
    format!("timestamptz '{EPOCH} 00:00:00+00' + {micros} * interval '1 microsecond'")
}

/// SQL expressions that hash a number into a value, each salted by what it is for.
pub(crate) struct Hash {
    seed: u64,
}

impl Hash {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A bigint in `0..bound`.
    pub(crate) fn below(&self, number: &str, purpose: &str, bound: u64) -> String {
        let bound = bound.max(1);
        format!(
            "(({} & 9223372036854775807) % {bound})",
            self.bits(number, purpose)
        )
    }

    /// Any bigint.
    pub(crate) fn bits(&self, number: &str, purpose: &str) -> String {
        let salt = purpose
            .bytes()
            .fold(mix(self.seed), |salt, byte| mix(salt ^ u64::from(byte)));
        format!(
            "hashint8extended({number}, '{}'::bigint)",
            salt.cast_signed()
        )
    }

    /// One of these texts.
    pub(crate) fn pick(&self, number: &str, purpose: &str, among: &[&str]) -> String {
        let list = among.join("','");
        let bound = u64::try_from(among.len()).unwrap_or(u64::MAX);
        format!(
            "(ARRAY['{list}'])[1 + {}]",
            self.below(number, purpose, bound)
        )
    }
}

/// One step of splitmix64: spreads neighbouring seeds far apart.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// States of a sale; repeated as often as they are met.
const STATES: &[&str] = &[
    "completado",
    "completado",
    "completado",
    "completado",
    "completado",
    "completado",
    "programado",
    "programado",
    "en_curso",
    "cancelado",
];
const ACTIVITIES: &[&str] = &[
    "video_visto",
    "examen_enviado",
    "foro_mensaje",
    "documento_descargado",
    "sesion_iniciada",
    "encuesta_respondida",
];
pub(crate) const TRADES: &[&str] = &[
    "Talleres",
    "Conservas",
    "Transportes",
    "Construcciones",
    "Bodegas",
    "Clínica",
    "Hoteles",
    "Seguros",
    "Electrónica",
    "Viveros",
    "Panificadora",
    "Ingeniería",
    "Distribuciones",
    "Muebles",
    "Cerámicas",
    "Logística",
];
pub(crate) const PLACES: &[&str] = &[
    "Ebro",
    "Turia",
    "Genil",
    "Segura",
    "Guadalquivir",
    "Cantabria",
    "La Mancha",
    "Montaña",
    "Logroño",
    "Cádiz",
    "León",
    "Málaga",
    "Aragón",
    "Almería",
    "Pirineo",
    "A Coruña",
    "Vinalopó",
    "Girona",
];
pub(crate) const FORMS: &[&str] = &["S.L.", "S.A.", "S. Coop.", "e Hijos, S.L."];
const TOPICS: &[&str] = &[
    "Excel",
    "Liderazgo",
    "Prevención de riesgos",
    "Inglés de negocios",
    "Análisis de datos",
    "Ciberseguridad",
    "Gestión de proyectos",
    "Atención al cliente",
    "Negociación",
    "Contabilidad",
    "SQL",
    "Comunicación",
    "Gestión del tiempo",
    "Ventas",
    "Logística",
    "Calidad",
];
const NAMES: &[&str] = &[
    "Lucía", "Hugo", "Martina", "Mateo", "Sofía", "Martín", "Julia", "Pablo", "Begoña", "Íñigo",
    "Carmen", "Javier", "Nuria", "Álvaro", "Inés", "Óscar", "Marta", "Andrés", "Elena", "Raúl",
];
const SURNAMES: &[&str] = &[
    "García",
    "Fernández",
    "Núñez",
    "López",
    "Martínez",
    "Peña",
    "Ibáñez",
    "Güell",
    "Ruiz",
    "Ortega",
    "Sáez",
    "Muñoz",
    "Vidal",
    "Castro",
    "Herrero",
    "Blasco",
    "Iglesias",
    "Zamora",
];
