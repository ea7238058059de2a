//! The story that the rows tell, as SELECTs: who buys which course and when, who comes, what they do and how it ends.
//!
//! All is a function of numbers and of what was filled before, so each SELECT says how its rows depend on others':
//! sales have a season and a client; participants have a sale with room for them; activities have a participant who was
//! there. `OFFSET 0` keeps the server from writing an expression out once for each of its uses.

use anyhow::Result;

use super::calendar::{Calendar, DAY, SPAN};
use super::words::{ACTIVITIES, FORMS, NAMES, PLACES, SURNAMES, TOPICS, TRADES};
use super::{Hash, Seed};

/// Most participants for each sale, on average, for which sales of up to 25 seats have room.
const ROOM: u64 = 8;
/// Courses by which activity and people go down after a fourth of the time, and which are cancelled more often.
pub(crate) const LOSING: [i32; 2] = [3, 8];
/// So many topics at five levels are 80 courses, which `cursos` counts on.
const _: () = assert!(TOPICS.len() == 16);
/// Hours at which people learn, as often as listed (UTC): mornings, then after lunch, some in the evening.
pub(crate) const HOURS: &str =
    "6,7,7,8,8,8,8,9,9,9,9,10,10,10,11,11,12,13,14,14,14,15,15,15,16,16,17,18,19,19,20,20,21";

/// What decides the rows of a seed.
pub(crate) struct Story {
    pub(crate) seed: Seed,
    pub(crate) hash: Hash,
    pub(crate) calendar: Calendar,
}

impl Story {
    pub(crate) fn of(seed: Seed) -> Result<Self> {
        Ok(Self {
            seed,
            hash: Hash::new(seed.seed),
            calendar: Calendar::later(seed.days_later)?,
        })
    }

    /// Clients, who came before their first sale.
    pub(crate) fn clientes(&self, rows: u64) -> String {
        let hash = &self.hash;
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
            registro = self
                .calendar
                .instant(&format!("({} - {SPAN})", hash.below("n", "registro", SPAN))),
            numbers = numbers(1, rows),
        )
    }

    /// Courses: each topic at each level, and what is more than those, once more.
    pub(crate) fn cursos(&self, rows: u64) -> String {
        let hash = &self.hash;
        format!(
            "SELECT n, tema || ' ' || nivel || edicion,
                    CASE WHEN {sin_texto} > 0 THEN 'Curso de ' || lower(tema) || ' para empresas' END,
                    4 + 4 * {horas}, {precio} * 0.01
             FROM (SELECT n, ('{{{topics}}}'::text[])[1 + n * 7 % 16] AS tema,
                          ('{{básico,intermedio,avanzado,para directivos,intensivo}}'::text[])[1 + (n + n / 16) % 5] AS nivel,
                          CASE n / 80 WHEN 0 THEN '' WHEN 1 THEN ' II' ELSE ' III' END AS edicion
                   FROM {numbers} OFFSET 0) AS catalogo",
            topics = TOPICS.join(","),
            sin_texto = hash.below("n", "sin texto curso", 8),
            horas = hash.below("n", "horas", 20),
            precio = precio_base(hash, "n"),
            numbers = numbers(1, rows),
        )
    }

    /// Sales: more each year, with seasons, by clients of whom some buy much more than others and some nothing.
    pub(crate) fn ventas(&self) -> Result<String> {
        let (hash, rows) = (&self.hash, self.seed.ventas);
        let step = (SPAN / rows.max(1)).max(1);
        let seasons = self.calendar.seasons()?;
        let columns = venta_columns(
            hash,
            "cliente",
            "curso",
            "fecha",
            &self.calendar.end(),
            self.seats(),
        );
        Ok(format!(
            "SELECT n, {columns}, {updated}
             FROM (SELECT n, creada, {cliente} AS cliente, curso, {first} + ({day})::integer AS fecha
                   FROM (SELECT n, {created} AS creada, {comprador} AS comprador, 1 + {curso} AS curso
                         FROM (SELECT n, momento, {month} AS mes
                               FROM (SELECT n, n * {step} - {step} + {within} AS momento FROM {numbers} OFFSET 0) AS repartida
                               OFFSET 0) AS repartida
                         OFFSET 0) AS creada
                   OFFSET 0) AS venta",
            updated = self.calendar.instant(&format!(
                "(creada + ({} & 9223372036854775807) % greatest(least({}, {SPAN} - creada), 1))",
                hash.bits("n", "actualizada"),
                90 * DAY
            )),
            cliente = buyer(hash, "comprador"),
            first = self.calendar.first(),
            day = self.calendar.working_day(hash, &format!("(creada / {DAY})")),
            created = seasons.moment("momento", "mes"),
            month = seasons.month("momento"),
            within = hash.below("n", "creada", step),
            // Products of two uniform numbers: the first ones are met much more often than the last.
            comprador = format!(
                "1 + {} * {} / 1000",
                hash.below("n", "cliente", self.seed.clientes()),
                hash.below("n", "afinidad", 1000)
            ),
            curso = format!(
                "{} * {} / 1000",
                hash.below("n", "curso", self.seed.cursos()),
                hash.below("n", "demanda", 1000)
            ),
            numbers = numbers(1, rows),
        ))
    }

    /// How many times 1 to 25 seats a sale has, so that there is room for all participants.
    fn seats(&self) -> u64 {
        self.seed
            .participantes
            .div_ceil(ROOM * self.seed.ventas.max(1))
            .max(1)
    }

    /// How full each sale is: most seats of what takes place, few of what is cancelled.
    pub(crate) fn seats_taken(&self) -> String {
        format!(
            "SELECT id, estado, curso_id,
                    num_participantes * (CASE estado WHEN 'cancelado' THEN 5 ELSE 60 + {fill} END)::integer AS peso
             FROM ventas",
            fill = self.hash.below("id", "ocupación", 41),
        )
    }

    /// Participants, in the order of their sales.
    pub(crate) fn participantes(&self, weight: i64) -> String {
        let hash = &self.hash;
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
            "SELECT n, id, {nombre}, {apellido},
                    CASE WHEN {sin_correo} > 0 THEN {email} END,
                    CASE WHEN estado = 'completado' AND {sin_nota} > 0 AND {vino} AND ({constancia} = 100 OR {examen} = 0)
                         THEN least(1000, 250 + {propension} * 45 / 100 + {suerte} - {dificultad}) * 0.01 END
             FROM (SELECT id, estado, curso_id, generate_series(desde + 1, hasta) AS n FROM {ranges} OFFSET 0) AS plaza",
            sin_correo = hash.below("n", "sin correo", 15),
            sin_nota = hash.below("n", "sin nota", 12),
            vino = came(hash, "n"),
            constancia = stayed(hash, "n", "curso_id"),
            examen = hash.below("n", "examen", 4),
            propension = propensity(hash, "n"),
            suerte = hash.below("n", "nota", 401),
            dificultad = hash.below("curso_id", "dificultad", 151),
            ranges = ranges(&self.seats_taken(), "peso", weight, self.seed.participantes),
        )
    }

    /// How active each participant is: by propensity, and by the days for which they were there.
    pub(crate) fn time_spent(&self) -> String {
        format!(
            "SELECT id, curso_id, inicio, dias, duracion, propension,
                    ((500 + propension * propension / 500) * dias)::integer AS peso
             FROM (SELECT p.id, v.curso_id, v.fecha_inicio AS inicio, {propension} AS propension, v.duracion,
                          CASE WHEN v.estado <> 'cancelado' AND v.fecha_inicio IS NOT NULL AND {vino}
                               THEN greatest(least(v.duracion * {constancia} / 100, {end} - v.fecha_inicio), 0)
                               ELSE 0 END AS dias
                   FROM participantes p
                   JOIN (SELECT id, curso_id, estado, fecha_inicio, {duracion} AS duracion FROM ventas OFFSET 0) AS v
                     ON v.id = p.venta_id
                   OFFSET 0) AS asistencia",
            propension = propensity(&self.hash, "p.id"),
            vino = came(&self.hash, "p.id"),
            constancia = stayed(&self.hash, "p.id", "v.curso_id"),
            end = self.calendar.end(),
            duracion = days_of(&self.hash, "id"),
        )
    }

    /// Activities, numbered in the order of time: each in the days in which its participant was there, more of them at
    /// the beginning, few on weekends. Without a weight there are only participants who were never there: they share.
    pub(crate) fn actividades(&self, weight: i64) -> String {
        let hash = &self.hash;
        let (weighed, weight) = if weight > 0 {
            ("peso", weight)
        } else {
            ("1", self.seed.participantes.cast_signed())
        };
        let columns = actividad_columns(
            hash,
            "id",
            &format!(
                "CASE WHEN dia * 100 >= duracion * 85 AND {} = 0 THEN 'examen_enviado' ELSE {} END",
                hash.below("n", "final", 3),
                hash.pick("n", "tipo", ACTIVITIES)
            ),
            &format!(
                "60 + {} * (400 + propension * 6 / 10) / 1000",
                hash.below("n", "duracion", 3500)
            ),
            "(dia + 1) * (600 + propension * 4 / 10) / (duracion + 1)",
        );
        let first = self.calendar.first();
        let weekday = self.calendar.weekday("(desde_el_primero + dia)");
        format!(
            "SELECT row_number() OVER (ORDER BY momento, n), {columns}, {at}
             FROM (SELECT n, id, duracion, propension, dia,
                          (desde_el_primero + dia) * {DAY} + ('{{{HOURS}}}'::bigint[])[1 + {hora}] * 3600000000 + {minuto}
                          AS momento
                   FROM (SELECT n, id, duracion, propension, desde_el_primero,
                                CASE WHEN {weekday} NOT IN (0, 6) OR {quieto} = 0 THEN dia
                                     WHEN dia >= atrás THEN dia - atrás
                                     WHEN {weekday} = 6 AND dia + 2 < dias THEN dia + 2
                                     WHEN {weekday} = 0 AND dia + 1 < dias THEN dia + 1
                                     ELSE dia END AS dia
                         FROM (SELECT *, {back} AS atrás FROM (SELECT n, id, duracion, propension, greatest(dias, 1) AS dias,
                                      (coalesce(inicio, {first}) - {first})::bigint AS desde_el_primero,
                                      parte * (parte + 1000000) / 2000000 * greatest(dias, 1) / 1000000 AS dia
                               FROM (SELECT n, id, duracion, propension, dias, inicio, {parte} AS parte
                                     FROM (SELECT id, duracion, propension, dias, inicio,
                                                  generate_series(desde + 1, hasta) AS n
                                           FROM {ranges} OFFSET 0) AS hecho
                                     OFFSET 0) AS hecho
                               OFFSET 0) AS hecho OFFSET 0) AS hecho
                         OFFSET 0) AS hecho
                   OFFSET 0) AS hecho",
            at = self.calendar.instant("momento"),
            hora = hash.below("n", "hora", HOURS.split(',').count() as u64),
            minuto = hash.below("n", "momento", 3_600_000_000),
            back = back_to_work(hash, &weekday),
            quieto = hash.below("n", "fin de semana", 4),
            parte = hash.below("n", "parte", 1_000_000),
            ranges = ranges(&self.time_spent(), weighed, weight, self.seed.actividades),
        )
    }
}

/// SQL: how many days before a day of the weekend one of the working days of its week is.
pub(super) fn back_to_work(hash: &Hash, weekday: &str) -> String {
    format!(
        "(CASE {weekday} WHEN 6 THEN 1 ELSE 2 END + {})",
        hash.below("n", "día laborable", 5)
    )
}

/// SQL: rows `weights` with a part of `1..=rows` each, from `desde + 1` to `hasta`, in proportion to their weights,
/// which add up to `total`. All parts together are all of it.
fn ranges(weights: &str, weighed: &str, total: i64, rows: u64) -> String {
    format!(
        "(SELECT *, floor((hasta_aqui - {weighed})::float8 / {total} * {rows})::bigint AS desde,
                 floor(hasta_aqui::float8 / {total} * {rows})::bigint AS hasta
          FROM (SELECT *, sum({weighed}) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS hasta_aqui FROM ({weights}) AS p)
               AS acumulado
         ) AS partes"
    )
}

/// SQL: the client who buys where the client of that number would: those numbered with 9 and 0 have yet to buy at all,
/// and those with 7 and 8 buy little. The CRM's stages follow (`hubspot::clients`).
fn buyer(hash: &Hash, cliente: &str) -> String {
    format!(
        "(CASE WHEN {cliente} % 10 IN (9, 0) THEN {cliente} - 5
               WHEN {cliente} % 10 IN (7, 8) AND {} >= 12 THEN {cliente} - 3
               ELSE {cliente} END)",
        hash.below("n", "decisión", 100)
    )
}

/// SQL: how much a participant is given to learn, 0 to 999.
fn propensity(hash: &Hash, participante: &str) -> String {
    hash.below(participante, "propensión", 1000)
}

/// SQL: whether a participant came at all.
fn came(hash: &Hash, participante: &str) -> String {
    format!("{} > 0", hash.below(participante, "vino", 20))
}

/// SQL: for how much of a course a participant stayed, in percent. Those who are little given to learn leave earlier,
/// and two courses lose most of their people.
fn stayed(hash: &Hash, participante: &str, curso: &str) -> String {
    format!(
        "(CASE WHEN {curso} IN ({losing}) AND {leaves} < 80 THEN 20 + {soon}
               WHEN {leaves} < 4 + (1000 - {propensity}) / 50 THEN 10 + {late}
               ELSE 100 END)",
        losing = LOSING.map(|curso| curso.to_string()).join(", "),
        leaves = hash.below(participante, "abandono", 100),
        soon = hash.below(participante, "pronto", 25),
        propensity = propensity(hash, participante),
        late = hash.below(participante, "tarde", 81),
    )
}

/// Cents that a course costs.
fn precio_base(hash: &Hash, curso: &str) -> String {
    format!("(9900 + {})", hash.below(curso, "precio", 240_000))
}

/// SQL: how many days after its beginning a sale's course ends, as integer.
fn days_of(hash: &Hash, venta: &str) -> String {
    format!("(20 + {})::integer", hash.below(venta, "fin", 48))
}

/// Columns of `ventas` between `id` and `updated_at`, for the row numbered `n`, as things are on the morning of the day
/// `today`. A sale has up to 25 seats, times `seats`.
pub(crate) fn venta_columns(
    hash: &Hash,
    cliente: &str,
    curso: &str,
    fecha: &str,
    today: &str,
    seats: u64,
) -> String {
    let start = format!("{fecha} + (7 + {})::integer", hash.below("n", "inicio", 21));
    let end = format!("{start} + {}", days_of(hash, "n"));
    let undated = hash.below("n", "sin fecha", 30);
    let people = format!("(1 + {}) * {seats}", hash.below("n", "asistentes", 25));
    format!(
        "{cliente}, {curso}, {fecha},
         CASE WHEN {undated} > 0 THEN {start} END,
         CASE WHEN {undated} > 1 THEN {end} END,
         {people},
         {people} * {price} * (100 - {discount}) / 100 * 0.01,
         CASE WHEN {cancelled} < 60 + CASE WHEN {curso} IN ({losing}) THEN 160 ELSE 0 END THEN 'cancelado'
              WHEN {undated} = 0 OR {today} <= {start} THEN 'programado'
              WHEN {undated} = 1 OR {today} <= {end} THEN 'en_curso'
              ELSE 'completado' END",
        price = precio_base(hash, curso),
        discount = hash.below("n", "descuento", 31),
        cancelled = hash.below("n", "cancelada", 1000),
        losing = LOSING.map(|curso| curso.to_string()).join(", "),
    )
}

/// Columns of `actividades_participantes` between `id` and `timestamp`, then `detalles`, for the row numbered `n`.
/// The table's own order has `timestamp` before `detalles`; `columns_of` names it accordingly. `progress` is in thousandths.
pub(crate) fn actividad_columns(
    hash: &Hash,
    participante: &str,
    tipo: &str,
    seconds: &str,
    progress: &str,
) -> String {
    format!(
        "{participante}, {tipo},
         CASE WHEN {sin_contenido} > 0 THEN 1 + {contenido} END,
         CASE WHEN {sin_detalles} > 0
              THEN ('{{\"duracion_s\": ' || {seconds} || ', \"dispositivo\": \"' || {dispositivo}
                    || '\", \"progreso\": ' || {progress} * 0.1 || '}}')::jsonb END",
        sin_contenido = hash.below("n", "sin contenido", 10),
        contenido = hash.below("n", "contenido", 5000),
        sin_detalles = hash.below("n", "sin detalles", 5),
        dispositivo = hash.pick(
            "n",
            "dispositivo",
            &["móvil", "tableta", "portátil", "aula"]
        ),
    )
}

/// `n` from `first` to `last`, handed on one at a time (a set in FROM would be stored first).
pub(crate) fn numbers(first: u64, last: u64) -> String {
    format!("(SELECT generate_series({first}::bigint, {last}::bigint) AS n) AS numbers")
}
