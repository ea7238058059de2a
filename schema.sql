-- The operational database of a corporate-training company: the source that acequia reads.
-- Apply to an empty database: psql -v ON_ERROR_STOP=1 -f schema.sql

-- Client companies.
CREATE TABLE clientes (
    id             serial PRIMARY KEY,
    nombre         text NOT NULL CHECK (nombre <> ''),
    dominio        text,
    descripcion    text,
    fecha_registro timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- Catalogue of courses. Small, seldom changed: loaded in full.
CREATE TABLE cursos (
    id             serial PRIMARY KEY,
    nombre         text NOT NULL CHECK (nombre <> ''),
    descripcion    text,
    duracion_horas integer NOT NULL CHECK (duracion_horas > 0),
    precio_base    numeric(10,2) NOT NULL CHECK (precio_base >= 0)
);

-- Sales of courses. Rows are added and updated: loaded incrementally by updated_at.
CREATE TABLE ventas (
    id                serial PRIMARY KEY,
    cliente_id        integer NOT NULL REFERENCES clientes (id),
    curso_id          integer NOT NULL REFERENCES cursos (id),
    fecha_venta       date NOT NULL DEFAULT CURRENT_DATE,
    fecha_inicio      date,
    fecha_fin         date,
    num_participantes integer NOT NULL CHECK (num_participantes > 0),
    precio_total      numeric(10,2) NOT NULL CHECK (precio_total >= 0),
    estado            text NOT NULL DEFAULT 'programado'
                      CHECK (estado IN ('programado', 'en_curso', 'completado', 'cancelado')),
    updated_at        timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CHECK (fecha_fin >= fecha_inicio)
);

-- People who attend a course that was sold.
CREATE TABLE participantes (
    id           serial PRIMARY KEY,
    venta_id     integer NOT NULL REFERENCES ventas (id) ON DELETE CASCADE,
    nombre       text NOT NULL,
    apellido     text NOT NULL,
    email        text,
    calificacion numeric(4,2) CHECK (calificacion BETWEEN 0 AND 10)  -- NULL until graded
);

-- What participants do during a course. Only ever inserted; many rows, exact order matters: read by CDC.
CREATE TABLE actividades_participantes (
    id              bigserial PRIMARY KEY,
    participante_id integer NOT NULL REFERENCES participantes (id) ON DELETE CASCADE,
    tipo_actividad  text NOT NULL,
    contenido_id    integer,
    "timestamp"     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    detalles        jsonb
);

CREATE INDEX ventas_updated_at_idx ON ventas (updated_at);
CREATE INDEX ventas_cliente_id_idx ON ventas (cliente_id);
CREATE INDEX ventas_curso_id_idx ON ventas (curso_id);
CREATE INDEX participantes_venta_id_idx ON participantes (venta_id);
CREATE INDEX actividades_participantes_participante_id_idx ON actividades_participantes (participante_id);
CREATE INDEX actividades_participantes_timestamp_idx ON actividades_participantes ("timestamp");

-- Every UPDATE of a sale renews updated_at, whatever the statement says about it.
CREATE FUNCTION renovar_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := CURRENT_TIMESTAMP;
    RETURN NEW;
END;
$$;

CREATE TRIGGER ventas_updated_at
BEFORE UPDATE ON ventas
FOR EACH ROW EXECUTE FUNCTION renovar_updated_at();
